// Small VHDX files for tests of whole moves, and proofs that a file is the disk that was sent.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/hash128.h"
#include "tests/support/model_disk.h"
#include "tests/support/temp_folder.h"
#include "vhdx/description.h"

namespace vhdxm::test {

/// Units: bytes. 512-byte sectors, blocks of 1 MiB, dynamic, unless changed.
vhdx::Geometry small_geometry(std::uint64_t virtual_size);

/// A disk of which the first `data_bytes` hold data, the next MiB zeros, and the rest nothing.
/// Requires: data_bytes + 1 MiB <= virtual_size_bytes.
ModelDisk data_disk(const vhdx::Geometry& geometry, std::uint64_t data_bytes, std::uint64_t seed);

/// Writes `model` to a new file at `folder`/`name` and returns its path. `change`: edits the
/// description first.
std::string write_disk(const TempFolder& folder, const std::string& name, const ModelDisk& model,
                       const std::function<void(vhdx::Description&)>& change = {});
/// The same with blocks that nothing needs, in an order of `random`.
std::string write_disk(const TempFolder& folder, const std::string& name, const ModelDisk& model,
                       std::mt19937_64& random);
/// data_disk() of 8 MiB with 3 MiB of data, in a file.
std::string write_data_disk(const TempFolder& folder, const std::string& name, std::uint64_t seed,
                            std::uint64_t data_bytes = 3 * vhdx::kMiB);
/// A child of the disk at `parent_path`, in a file: `model` is of a differencing geometry.
std::string write_child(const TempFolder& folder, const std::string& name, const ModelDisk& model,
                        const std::string& parent_path);

/// The hash of a file's bytes, and of its length.
Hash128 file_hash(const std::string& path);
/// The names in a folder, sorted, but for that of the program's own state.
std::vector<std::string> names_in(const TempFolder& folder);
/// The same without partials, which a job that did not end well leaves for a later one to go on
/// with. Adds a failure for a partial that can be taken for a disk.
std::vector<std::string> disks_in(const TempFolder& folder);
using Names = std::vector<std::string>;

/// Adds a failure unless both files are the same disk: description and layer digest.
void expect_same_layer(const std::string& first, const std::string& second);
/// Adds a failure unless both disks, resolved through their chains, hold the same bytes.
void expect_same_content(const std::string& first, const std::string& second);

/// Remembers a source's bytes, and adds a failure when the test ends unless they are the same
/// still.
class Untouched {
 public:
  explicit Untouched(std::string path) : path_(std::move(path)), before_(file_hash(path_)) {}
  ~Untouched();
  Untouched(const Untouched&) = delete;
  Untouched& operator=(const Untouched&) = delete;

 private:
  const std::string path_;
  const Hash128 before_;
};

}  // namespace vhdxm::test

// Makes the parent locator of a new or arriving differencing disk.
//
// Spec: [MS-VHDX] 2.6.2.6.3. The locator holds parent_linkage, the parent's DataWriteGuid, and one
// path: relative_path, from the child's folder, with backslashes. An absolute_win32_path is never
// written: a path of this host's means nothing to Windows, and one path is all the format asks for.
#pragma once

#include <string>

#include "vhdx/description.h"

namespace vhdxm::vhdx {

/// The locator of a child at `child_path`, which need not exist yet, of the disk at `parent_path`.
/// Symbolic links are resolved: the path names the parent's own file.
/// Errors: the system's for a parent or a folder that is not there; BaseErrc::kInvalidArgument for
/// a name with a backslash, which a relative_path cannot say, or a parent without DataWriteGuid.
Result<ParentLocator> make_parent_locator(const std::string& parent_path,
                                          const std::string& child_path,
                                          const Guid& parent_data_write_guid);

/// What a new child of `parent` is: the same geometry but differencing, the same virtual disk ID, a
/// new DataWriteGuid, and those of its foreign items that belong to the virtual disk.
/// Spec: [MS-VHDX] 2.6.1.2, IsVirtualDisk: forking copies these items.
Description describe_child(const Description& parent, ParentLocator locator);

/// The locator of a child that arrived from another host, whose parent stands beside it as
/// `parent_name`: linkage and unknown entries are kept, relative_path is `.\NAME`, other paths go.
/// Errors: BaseErrc::kInvalidArgument for a name that is not that of a file in the same folder.
Result<ParentLocator> locator_beside(const ParentLocator& locator, const std::string& parent_name);

/// The last component of the first path that `locator` has, in the order in which they are tried;
/// empty if there is none.
std::string parent_name_of(const ParentLocator& locator);

}  // namespace vhdxm::vhdx

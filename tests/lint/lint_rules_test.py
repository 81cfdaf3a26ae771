#!/usr/bin/env python3
"""Each rule finds what it is there for, and leaves good code alone."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True

from rules import coroutines, layers, length, names, references, registered  # noqa: E402
from source_tree import SourceTree  # noqa: E402


class RuleTest(unittest.TestCase):
    def findings(self, rule, files):
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                full = Path(root) / path
                full.parent.mkdir(parents=True, exist_ok=True)
                full.write_text(text, encoding="utf-8")
            return [str(f) for f in rule.check(SourceTree(root))]

    def assert_finds(self, rule, files, *parts):
        found = self.findings(rule, files)
        self.assertEqual(len(found), len(parts), found)
        for text, part in zip(found, parts):
            self.assertIn(part, text)

    def assert_clean(self, rule, files):
        self.assertEqual(self.findings(rule, files), [])


class Layers(RuleTest):
    def test_arrows_may_only_be_followed_upwards(self):
        files = {"base/a.h": '#include "vhdx/b.h"\n', "vhdx/b.h": '#include "base/a.h"\n'}
        self.assert_finds(layers, files, "base/a.h:1: error: base must not know vhdx")

    def test_vhdx_and_compression_never_meet(self):
        files = {"vhdx/a.h": '#include "compression/b.h"\n', "compression/b.h": '#include "vhdx/a.h"\n'}
        self.assert_finds(layers, files, "compression must not know vhdx",
                          "vhdx must not know compression")

    def test_product_code_does_not_know_the_tests(self):
        files = {"tools/a.cc": '#include "tests/b.h"\n', "tests/b.h": ""}
        self.assert_finds(layers, files, "tools must not know tests")

    def test_asio_stays_in_its_folders(self):
        self.assert_finds(layers, {"vhdx/a.cc": "#include <boost/asio/post.hpp>\n"}, "Asio")
        self.assert_clean(layers, {"transfer/a.cc": "#include <boost/asio/post.hpp>\n"})

    def test_includes_start_at_the_root(self):
        files = {"base/a.cc": '#include "b.h"\n', "base/b.h": ""}
        self.assert_finds(layers, files, "no file of the project")

    def test_comments_are_no_includes(self):
        self.assert_clean(layers, {"base/a.cc": '// #include "vhdx/b.h"\n'})


class Names(RuleTest):
    def test_files_of_a_folder_that_are_compiled_as_one_share_no_name(self):
        text = "namespace {\n\nconstexpr int kA = 1;\nclass B {\n};\n\n}  // namespace\n"
        self.assert_finds(names, {"base/a.cc": text, "base/b.cc": text}, "kA: base/a.cc", "B: base/a.cc")
        self.assert_clean(names, {"base/a.cc": text, "vhdx/b.cc": text})

    def test_what_a_function_keeps_to_itself_is_no_matter(self):
        text = "namespace {\n\nvoid f() {\n  constexpr int kA = 1;\n}\n\n}  // namespace\n"
        self.assert_clean(names, {"base/a.cc": text, "base/b.cc": text})


class Registered(RuleTest):
    ROOT = {"CMakeLists.txt": "add_subdirectory(tests)\n"}

    def test_a_test_in_no_target_is_found(self):
        files = {**self.ROOT, "tests/CMakeLists.txt": "# a_test.cc\n", "tests/a_test.cc": ""}
        self.assert_finds(registered, files, "tests/a_test.cc:1: error: named in no CMakeLists.txt")

    def test_a_name_that_only_contains_the_file_does_not_count(self):
        files = {**self.ROOT, "tests/CMakeLists.txt": "t(aa_test.cc)\n", "tests/a_test.cc": "",
                 "tests/aa_test.cc": ""}
        self.assert_finds(registered, files, "tests/a_test.cc")

    def test_a_name_after_a_variable_counts(self):
        files = {**self.ROOT, "tests/CMakeLists.txt": "t(${PROJECT_SOURCE_DIR}/tests/x/a.cc)\n",
                 "tests/x/a.cc": ""}
        self.assert_clean(registered, files)

    def test_a_word_of_a_loop_counts_where_the_loop_uses_it(self):
        files = {**self.ROOT, "tests/a_test.py": "",
                 "tests/CMakeLists.txt": "foreach(name a b)\n t(${name}_test.py)\nendforeach()\n"}
        self.assert_clean(registered, files)
        self.assert_finds(registered, {**files, "tests/c_test.py": ""}, "tests/c_test.py")
        self.assert_finds(registered, {**files, "tests/a_test.cc": ""}, "tests/a_test.cc")

    def test_a_folder_that_is_never_added_is_found(self):
        files = {**self.ROOT, "tests/CMakeLists.txt": "", "tests/x/CMakeLists.txt": ""}
        self.assert_finds(registered, files, "does not name the folder x")

    def test_a_fuzz_target_without_inputs_is_found(self):
        files = {**self.ROOT, "tests/CMakeLists.txt": "vhdxm_fuzz(frame_fuzz SOURCES f.cc)\n"}
        self.assert_finds(registered, files, "corpus/frame_fuzz")
        self.assert_clean(registered, {**files, "tests/fuzz/corpus/frame_fuzz/one": "x"})


class Coroutines(RuleTest):
    def assert_cpp(self, text, *parts):
        self.assert_finds(coroutines, {"transfer/a.cc": text}, *parts)

    def test_capturing_lambda_in_co_await(self):
        self.assert_cpp("void f() {\n  co_await co_spawn(e, [p = std::move(p)]() -> awaitable<void> {"
                        " co_return; }, use_awaitable);\n}\n", "a.cc:2: error: a capturing lambda")

    def test_capturing_lambda_before_co_await_in_the_same_expression(self):
        self.assert_cpp("int f() { return use([&] { return 1; }, co_await g()); }\n", "capturing")

    def test_capturing_lambda_in_braces_in_co_await(self):
        self.assert_cpp("void f() { auto x = co_await run(Task{.work = [this] { go(); }}); }\n",
                        "capturing")

    def test_capturing_lambda_in_a_condition_with_co_await(self):
        self.assert_cpp("void f() { if (co_await any([=](int x) { return x == y; })) { g(); } }\n",
                        "capturing")

    def test_lambda_in_a_local_is_fine(self):
        self.assert_cpp("void f() {\n  auto work = [this]() -> awaitable<void> { co_await g(); };\n"
                        "  co_await co_spawn(e, std::move(work), use_awaitable);\n}\n")

    def test_lambda_without_captures_is_fine(self):
        self.assert_cpp("void f() { co_await g([](int x) { return x; }); }\n")

    def test_index_and_attribute_are_no_lambdas(self):
        self.assert_cpp("void f() { co_await g(a[i], b()[0]); [[maybe_unused]] int x = co_await h(); }\n")

    def test_co_await_in_the_next_statement_is_fine(self):
        self.assert_cpp("void f() { std::sort(b, e, [&](int x, int y) { return x < y; });\n"
                        "  for (auto& x : v) { g([&] { return 1; }); }\n  co_await g(); }\n")

    def test_co_await_in_a_comment_or_a_literal_is_fine(self):
        self.assert_cpp('void f() { g([&] { h(); }, "co_await");  // co_await\n}\n')

    def test_channel_close(self):
        self.assert_cpp("channel<void(error_code, int)> work_;\nvoid f() { work_.close(); }\n",
                        "work_.close()")
        self.assert_cpp("void f(C& channel) { channel.close(); }\n", "channel.close()")
        self.assert_cpp("void f(Socket& socket) { socket.close(); }\n")

    def test_detached(self):
        self.assert_cpp("void f() { co_spawn(e, g(), asio::detached); }\n", "detached")
        self.assert_cpp("void f() { thread.detach(); }\n", "detached")
        self.assert_cpp("// never detached\n")

    def test_string_view_parameter_of_a_coroutine(self):
        self.assert_cpp("awaitable<void> send(int a, std::string_view text);\n", "string_view")
        self.assert_cpp("awaitable<void> send(std::string text);\nvoid f(std::string_view);\n")


class Length(RuleTest):
    def test_limits(self):
        self.assert_finds(length, {"a.cc": "\n" * 1001}, "error: 1001 lines")
        self.assert_finds(length, {"a.cc": "\n" * 601}, "warning: 601 lines")
        self.assert_clean(length, {"a.cc": "\n" * 600, "a.md": "\n" * 2000})


class References(RuleTest):
    def test_comments_name_files_that_exist(self):
        files = {"base/a.h": "// See base/gone.h and base/a.h.\n"}
        self.assert_finds(references, files, "names base/gone.h")

    def test_code_is_no_comment(self):
        self.assert_clean(references, {"base/a.cc": 'auto p = "docs/gone.md";\n'})

    def test_links_and_headings_exist(self):
        files = {"README.md": "[a](docs/a.md) [b](docs/b.md) [c](docs/a.md#the-one) [d](docs/a.md#two)\n"
                              "[e](https://example.org/x) [f](#top)\n# Top\n",
                 "docs/a.md": "# The one\n[up](../README.md)\n"}
        self.assert_finds(references, files, "links to docs/b.md", "no heading #two")

    def test_links_in_examples_are_not_followed(self):
        self.assert_clean(references, {"README.md": "```\n[a](gone.md)\n```\n"})

    def test_unfinished_work_has_an_issue(self):
        files = {"base/a.cc": "// TODO: later\n// TODO(perf): batch these, #12\n// FIXME\n"}
        self.assert_finds(references, files, "a.cc:1:", "a.cc:3:")


if __name__ == "__main__":
    unittest.main()

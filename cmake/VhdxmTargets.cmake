# One place for compiler flags and for how a folder of the tree becomes a library.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(vhdxm_flags INTERFACE)
target_compile_options(vhdxm_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast
  -Wcast-align -Woverloaded-virtual -Werror)
if(VHDXM_SANITIZE)
  add_compile_options(-fsanitize=${VHDXM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${VHDXM_SANITIZE})
  if(VHDXM_SANITIZE MATCHES "undefined" AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # Clang 14 fails on coroutines with it: "Cannot represent a difference across sections".
    add_compile_options(-fno-sanitize=function)
  endif()
  if(VHDXM_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC warns that it cannot see atomic_thread_fence, which Asio uses.
    add_compile_options(-Wno-tsan)
  endif()
endif()
if(VHDXM_LIBFUZZER)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# vhdxm_compile_together(TARGET [LIGHT]): several files as one, in builds whose only use is to be tested. Half of the
# time goes into what headers define, sanitized once for each file that includes them. So names in the
# anonymous namespaces of a folder must differ, see tests/lint/rules/names.py; the other builds compile each file alone, with every warning.
# LIGHT: the time goes into other folders' code, so this one's is not optimized either (a third of the time).
function(vhdxm_compile_together target)
  if(NOT VHDXM_COMPILE_FAST)
    return()
  endif()
  if("LIGHT" IN_LIST ARGN)
    target_compile_options(${target} PRIVATE -O0)
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  target_compile_options(${target} PRIVATE -Wno-shadow)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # It takes what an included .cc keeps to itself for a header's.
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
  endif()
endfunction()

# What the library needs beside itself; only header-only parts of Boost.
set(VHDXM_EXTERNAL_LIBRARIES
  Threads::Threads OpenSSL::SSL OpenSSL::Crypto Boost::headers fmt::fmt PkgConfig::ISAL PkgConfig::XXHASH
  PkgConfig::ZSTD)

# vhdxm_folder(NAME SOURCES ... DEPENDS folders... PRECOMPILE headers...)
# Makes vhdxm_NAME (a static library for tests and tools) and vhdxm_NAME_objects (for libvhdx-migrate).
function(vhdxm_folder name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS;LINK;PRECOMPILE" ${ARGN})
  if(NOT arg_SOURCES)  # a folder of headers so far
    file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/empty.cc CONTENT "namespace {}\n")
    set(arg_SOURCES ${CMAKE_CURRENT_BINARY_DIR}/empty.cc)
  endif()
  add_library(vhdxm_${name}_objects OBJECT ${arg_SOURCES})
  target_include_directories(vhdxm_${name}_objects PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(vhdxm_${name}_objects PRIVATE vhdxm_flags PUBLIC ${VHDXM_EXTERNAL_LIBRARIES} ${arg_LINK})
  vhdxm_compile_together(vhdxm_${name}_objects)
  if(arg_PRECOMPILE)
    target_precompile_headers(vhdxm_${name}_objects PRIVATE ${arg_PRECOMPILE})
  endif()
  add_library(vhdxm_${name} STATIC $<TARGET_OBJECTS:vhdxm_${name}_objects>)
  set_target_properties(vhdxm_${name} PROPERTIES LINKER_LANGUAGE CXX)
  target_include_directories(vhdxm_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(vhdxm_${name} PUBLIC ${VHDXM_EXTERNAL_LIBRARIES} ${arg_LINK})
  foreach(folder ${arg_DEPENDS})
    target_link_libraries(vhdxm_${name} PUBLIC vhdxm_${folder})
  endforeach()
endfunction()

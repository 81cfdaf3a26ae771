# Copies public headers, and every header of the project that they include, to
# staging_dir/vhdx_migrate with their includes rewritten. Run by VhdxmInstall.cmake at install time.
#
# In: source_dir, staging_dir, public_headers (relative to source_dir).

cmake_policy(PUSH)
cmake_policy(VERSION 3.25)
file(REMOVE_RECURSE "${staging_dir}")
set(waiting ${public_headers})
set(staged "")
while(waiting)
  list(POP_FRONT waiting header)
  if(header IN_LIST staged)
    continue()
  endif()
  list(APPEND staged ${header})
  file(STRINGS "${source_dir}/${header}" lines REGEX "^#include \"[a-z]+/")
  foreach(line IN LISTS lines)
    if(line MATCHES "^#include \"((base|vhdx|compression|transfer|migration)/[a-z0-9_]+\\.h)\"")
      list(APPEND waiting ${CMAKE_MATCH_1})
    else()
      message(FATAL_ERROR "${header}: a public header must not need ${line}")
    endif()
  endforeach()
  file(READ "${source_dir}/${header}" text)
  string(REGEX REPLACE "(^|\n)#include \"([a-z0-9_/]+\\.h)\"" "\\1#include <vhdx_migrate/\\2>"
    text "${text}")
  file(WRITE "${staging_dir}/vhdx_migrate/${header}" "${text}")
endwhile()
cmake_policy(POP)

# Every source looks as .clang-format says. In: clang_format, root.
file(GLOB_RECURSE sources
  ${root}/base/*.h ${root}/base/*.cc ${root}/vhdx/*.h ${root}/vhdx/*.cc ${root}/compression/*.h
  ${root}/compression/*.cc ${root}/transfer/*.h ${root}/transfer/*.cc ${root}/tools/*.h
  ${root}/tools/*.cc ${root}/bench/*.h ${root}/bench/*.cc ${root}/tests/*.h ${root}/tests/*.cc)
execute_process(COMMAND ${clang_format} --dry-run --Werror ${sources}
  RESULT_VARIABLE status ERROR_VARIABLE findings)
if(NOT status EQUAL 0)
  string(REGEX MATCHALL "[^\n]*: error: [^\n]*" lines "${findings}")
  list(JOIN lines "\n" text)
  message(FATAL_ERROR "not formatted; run ${clang_format} -i on these:\n${text}")
endif()

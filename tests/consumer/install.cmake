# Installs into an empty prefix and checks what a consumer's include path gets: one name.
# In: build, work, include.
file(REMOVE_RECURSE ${work})
file(MAKE_DIRECTORY ${work}/source ${work}/destination)
execute_process(
  COMMAND ${CMAKE_COMMAND} --install ${build} --prefix ${work}/prefix --component development
  COMMAND_ERROR_IS_FATAL ANY)

file(GLOB names RELATIVE ${work}/prefix/${include} ${work}/prefix/${include}/*)
if(NOT names STREQUAL "vhdx_migrate")
  message(FATAL_ERROR "the include folder has ${names}; it should have vhdx_migrate alone")
endif()
file(GLOB_RECURSE headers ${work}/prefix/${include}/*.h)
foreach(header IN LISTS headers)
  file(STRINGS ${header} quoted REGEX "^#include \"")
  if(quoted)
    message(FATAL_ERROR "${header}: not rewritten: ${quoted}")
  endif()
endforeach()

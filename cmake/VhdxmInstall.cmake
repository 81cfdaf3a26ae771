# What `cmake --install` puts where: the library, its public headers and the CMake package VhdxMigrate.

include(CMakePackageConfigHelpers)
option(VHDXM_INSTALL "Make install rules" ${PROJECT_IS_TOP_LEVEL})
if(NOT VHDXM_INSTALL)
  return()
endif()

# The headers a program includes; what these include is installed too, nothing else is.
set(VHDXM_PUBLIC_HEADERS
  base/directory.h
  base/guid.h
  base/memory_file.h
  base/posix_file.h
  base/size_text.h
  migration/disk_registry.h
  migration/handover_source.h
  migration/handover_target.h
  migration/journal_arbiter.h
  migration/live_move.h
  migration/ownership_store.h
  migration/resolve.h
  migration/service_job.h
  transfer/live_disk.h
  transfer/live_sender.h
  transfer/receiver.h
  transfer/sender.h
  vhdx/bulk_writer.h
  vhdx/check.h
  vhdx/content_compare.h
  vhdx/disk_writer.h
  vhdx/image.h
  vhdx/raw_transfer.h
  vhdx/repair.h
  vhdx/repair_backup.h)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/VhdxMigrate)

install(TARGETS vhdx-migrate EXPORT VhdxMigrateTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(EXPORT VhdxMigrateTargets NAMESPACE VhdxMigrate::
  DESTINATION ${package_dir} COMPONENT development)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/VhdxMigrateConfig.cmake.in
  ${PROJECT_BINARY_DIR}/package/VhdxMigrateConfig.cmake
  INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/VhdxMigrateConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/package/VhdxMigrateConfig.cmake
  ${PROJECT_BINARY_DIR}/package/VhdxMigrateConfigVersion.cmake
  DESTINATION ${package_dir} COMPONENT development)

# In the tree a header says "base/error.h"; installed it says <vhdx_migrate/base/error.h>, so that a
# consumer's include path gains one name only. See docs/decisions/002-installed-headers.md.
install(CODE "
  set(source_dir \"${PROJECT_SOURCE_DIR}\")
  set(staging_dir \"${PROJECT_BINARY_DIR}/package/include\")
  set(public_headers \"${VHDXM_PUBLIC_HEADERS}\")
  include(\"${CMAKE_CURRENT_LIST_DIR}/StageHeaders.cmake\")
  file(INSTALL \"\${staging_dir}/vhdx_migrate\" TYPE DIRECTORY
    DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_INCLUDEDIR}\")
" COMPONENT development)

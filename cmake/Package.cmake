# What a package installs besides the program (cmake/package/README.md). Its own scripts give the program its group.
include(GNUInstallDirs)
set(package ${CMAKE_CURRENT_LIST_DIR}/package)
install(FILES ${package}/sysusers.conf DESTINATION lib/sysusers.d RENAME agentvault.conf)
install(FILES ${package}/tmpfiles.conf DESTINATION lib/tmpfiles.d RENAME agentvault.conf)
install(FILES ${package}/udev.rules DESTINATION lib/udev/rules.d RENAME 60-agentvault.rules)
install(FILES ${package}/apparmor DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/apparmor.d RENAME agentvault)
install(CODE "file(CHMOD \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/agentvault\" PERMISSIONS
  SETGID OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)")

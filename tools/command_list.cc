#include "tools/command_list.h"

namespace vhdxm::tools {

std::vector<std::unique_ptr<Command>> all_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(make_send_command());
  commands.push_back(make_receive_command());
  commands.push_back(make_advise_command());
  commands.push_back(make_cleanup_command());
  commands.push_back(make_serve_command());
  commands.push_back(make_disk_command());
  commands.push_back(make_move_command());
  commands.push_back(make_list_command());
  commands.push_back(make_status_command());
  commands.push_back(make_watch_command());
  commands.push_back(make_pause_command());
  commands.push_back(make_resume_command());
  commands.push_back(make_cancel_command());
  commands.push_back(make_cutover_command());
  commands.push_back(make_set_command());
  commands.push_back(make_resolve_command());
  commands.push_back(make_info_command());
  commands.push_back(make_map_command());
  commands.push_back(make_check_command());
  commands.push_back(make_create_command());
  commands.push_back(make_compare_command());
  commands.push_back(make_export_command());
  commands.push_back(make_import_command());
  return commands;
}

}  // namespace vhdxm::tools

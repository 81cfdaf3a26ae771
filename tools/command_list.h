// All commands of the tool.
#pragma once

#include <memory>
#include <vector>

#include "tools/command.h"

namespace vhdxm::tools {

std::unique_ptr<Command> make_cleanup_command();
std::unique_ptr<Command> make_cancel_command();
std::unique_ptr<Command> make_cutover_command();
std::unique_ptr<Command> make_resolve_command();
std::unique_ptr<Command> make_set_command();
std::unique_ptr<Command> make_list_command();
std::unique_ptr<Command> make_move_command();
std::unique_ptr<Command> make_pause_command();
std::unique_ptr<Command> make_resume_command();
std::unique_ptr<Command> make_status_command();
std::unique_ptr<Command> make_watch_command();
std::unique_ptr<Command> make_disk_command();
std::unique_ptr<Command> make_info_command();
std::unique_ptr<Command> make_map_command();
std::unique_ptr<Command> make_advise_command();
std::unique_ptr<Command> make_check_command();
std::unique_ptr<Command> make_create_command();
std::unique_ptr<Command> make_compare_command();
std::unique_ptr<Command> make_export_command();
std::unique_ptr<Command> make_import_command();
std::unique_ptr<Command> make_receive_command();
std::unique_ptr<Command> make_send_command();
std::unique_ptr<Command> make_serve_command();

/// In the order of the help.
std::vector<std::unique_ptr<Command>> all_commands();

}  // namespace vhdxm::tools

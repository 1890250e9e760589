# A room is one folder and one static library. Its headers are reached as "<room>/<file>.hpp", and only by the rooms
# that link it: the include path of a room is a folder of its own that holds one link, named like the room.
function(agentvault_room NAME)
  cmake_parse_arguments(ROOM "" "" "SOURCES;USES;PRIVATE" ${ARGN})
  set(view ${PROJECT_BINARY_DIR}/rooms/${NAME})
  file(MAKE_DIRECTORY ${view})
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${view}/${NAME} SYMBOLIC)
  add_library(av_${NAME} STATIC ${ROOM_SOURCES})
  target_include_directories(av_${NAME} PUBLIC ${view})
  target_link_libraries(av_${NAME} PUBLIC ${ROOM_USES} PRIVATE agentvault_flags ${ROOM_PRIVATE})
endfunction()

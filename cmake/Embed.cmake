# agentvault_embed(OUTPUT NAMESPACE::SYMBOL FILES...): a source file that holds the files' text, in the given order,
# as `const EmbeddedFile SYMBOL[]` ended by an entry without a name. Rebuilt when one of them changes.
set(AGENTVAULT_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/EmbedFiles.cmake)
function(agentvault_embed OUTPUT SYMBOL)
  add_custom_command(OUTPUT ${OUTPUT}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${OUTPUT} -DSYMBOL=${SYMBOL} "-DFILES=${ARGN}" -P ${AGENTVAULT_EMBED_SCRIPT}
    DEPENDS ${ARGN} ${AGENTVAULT_EMBED_SCRIPT} VERBATIM)
endfunction()

# One interface target carries the flags of every target of ours.
add_library(agentvault_flags INTERFACE)
target_compile_options(agentvault_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Woverloaded-virtual -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports false positives in std::string's inlined copies at -O2.
  target_compile_options(agentvault_flags INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds)
endif()
target_compile_options(agentvault_flags INTERFACE -fstack-protector-strong -fstack-clash-protection -fcf-protection)
# One program: what is in its libraries can be inlined.
target_compile_options(agentvault_flags INTERFACE
  $<$<NOT:$<IN_LIST:$<TARGET_PROPERTY:TYPE>,SHARED_LIBRARY;MODULE_LIBRARY>>:-fPIE>)
target_compile_definitions(agentvault_flags INTERFACE _GLIBCXX_ASSERTIONS)
target_link_options(agentvault_flags INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed)

if(AGENTVAULT_SANITIZE)
  target_compile_options(agentvault_flags INTERFACE
    -fsanitize=${AGENTVAULT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -O1)
  target_link_options(agentvault_flags INTERFACE -fsanitize=${AGENTVAULT_SANITIZE})
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  # Distributions may set a level of their own: replace it, or the compiler warns.
  target_compile_options(agentvault_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(AGENTVAULT_FUZZ)
  target_compile_options(agentvault_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
include(CheckPIESupported)
check_pie_supported()

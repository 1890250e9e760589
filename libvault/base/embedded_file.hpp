// A text file compiled into the program (SQL schema, provider presets). Lists end with an entry whose name is null.
#pragma once

namespace agentvault {

struct EmbeddedFile {
  const char* name;
  const char* text;
};

}  // namespace agentvault

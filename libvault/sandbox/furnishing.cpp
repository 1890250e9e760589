#include "sandbox/furnishing.hpp"

namespace agentvault::sandbox {

Bytes encode(const Furnishing& furnishing) {
  std::size_t size = std::size_t{1} << 18;  // for the environment
  for (const auto& file : furnishing.files) size += file.contents.size();
  ByteWriter out;
  out.reserve(size);
  const auto texts = [&](const std::vector<std::string>& list) {
    out.u32(static_cast<std::uint32_t>(list.size()));
    for (const auto& text : list) out.text(text);
  };
  out.u8(furnishing.in_front);
  texts(furnishing.environment);
  texts(furnishing.readable_files);
  for (const auto* ports : {&furnishing.broker_ports, &furnishing.other_ports, &furnishing.without_token}) {
    out.u32(static_cast<std::uint32_t>(ports->size()));
    for (const auto port : *ports) out.u16(port);
  }
  out.u32(static_cast<std::uint32_t>(furnishing.files.size()));
  for (const auto& file : furnishing.files) out.text(file.name).blob(file.contents);
  out.text(furnishing.roots.bundle).text(furnishing.roots.own).text(furnishing.roots.java).text(furnishing.roots.hash);
  return out.bytes();
}

Furnishing decode_furnishing(ByteView bytes) {
  ByteReader in(bytes);
  Furnishing out;
  const auto texts = [&](std::vector<std::string>& list) {
    for (auto left = in.number(4); left > 0; --left) list.push_back(in.text());
  };
  out.in_front = in.number(1) != 0;
  texts(out.environment);
  texts(out.readable_files);
  for (auto* ports : {&out.broker_ports, &out.other_ports, &out.without_token}) {
    for (auto left = in.number(4); left > 0; --left) ports->push_back(static_cast<std::uint16_t>(in.number(2)));
  }
  for (auto left = in.number(4); left > 0; --left) {
    SessionFile file{in.text(), {}};
    const auto contents = in.blob();
    file.contents.assign(contents.begin(), contents.end());
    out.files.push_back(std::move(file));
  }
  out.roots = {in.text(), in.text(), in.text(), in.text()};
  return out;
}

}  // namespace agentvault::sandbox

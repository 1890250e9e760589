#include "session/terms.hpp"

#include "base/error.hpp"
#include "session/isolation.hpp"

namespace agentvault::session {
namespace {

namespace fs = std::filesystem;

fs::path resolved(const std::string& text, const Governance& governance, const ExecRequest& request) {
  if (text.starts_with("~/")) return fs::path(variable(request.environment, "HOME")) / text.substr(2);
  const fs::path path(text);
  if (path.is_absolute()) return path;
  if (governance.path.empty()) {
    throw Error(ErrorKind::usage, "the vault's policy names a relative path: " + text,
                "write it absolute, or as ~/...");
  }
  return fs::path(governance.path).parent_path() / path;
}

template <class T>
std::vector<T> joined(std::vector<T> first, const std::vector<T>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

}  // namespace

policy::Egress egress_of(const ExecRequest& request, const Governance& governance,
                         const std::vector<net::Authority>& reaches) {
  policy::Egress egress;
  if (request.egress) {
    egress = *request.egress;
  } else if (governance.agent && governance.agent->egress) {
    egress = *governance.agent->egress;
  }
  for (const auto& reach : reaches) egress.add(reach.host, *reach.port);
  return egress;
}

Terms terms_of(const ExecRequest& request, const Governance& governance) {
  Terms terms{{},
              std::nullopt,
              request.writes,
              request.shares,
              request.keeps,
              request.reaches,
              request.publishes,
              policy::kUsualTtl,
              policy::kUsualMaxLifetime};
  std::string isolation = request.isolation;
  if (governance.agent) {
    const auto& agent = *governance.agent;
    if (isolation.empty()) isolation = agent.isolation;
    for (const auto& path : agent.writes) terms.writes.push_back(resolved(path, governance, request));
    for (const auto& path : agent.shares) terms.shares.push_back(resolved(path, governance, request));
    terms.keeps = joined(terms.keeps, agent.keeps);
    terms.reaches = joined(terms.reaches, agent.reaches);
    terms.publishes = joined(terms.publishes, agent.publishes);
    terms.ttl = agent.ttl.value_or(terms.ttl);
    terms.max_lifetime = agent.max_lifetime.value_or(terms.max_lifetime);
  }
  terms.isolation = parse_isolation(isolation.empty() ? "auto" : isolation);
  terms.egress = egress_of(request, governance, terms.reaches);
  terms.ttl = request.ttl.value_or(terms.ttl);
  terms.max_lifetime = request.max_lifetime.value_or(terms.max_lifetime);
  return terms;
}

std::string variable(const std::vector<std::string>& environment, const std::string& name) {
  for (const auto& entry : environment) {
    if (entry.starts_with(name + "=")) return entry.substr(name.size() + 1);
  }
  return {};
}

}  // namespace agentvault::session

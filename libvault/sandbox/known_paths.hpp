// What lies where on a developer's machine: keys, caches, the system. Relative to HOME where there is no slash
// in front.
#pragma once

#include <array>
#include <string_view>

namespace agentvault::sandbox {

/// Files and folders that hold long-lived secrets, or their traces.
inline constexpr std::array kCredentialPaths{
    std::string_view(".agentvault"), std::string_view(".local/share/agentvault"),
    // cloud providers and their tools
    std::string_view(".aws"), std::string_view(".azure"), std::string_view(".boto"), std::string_view(".bluemix"),
    std::string_view(".config/gcloud"), std::string_view(".config/doctl"), std::string_view(".config/hcloud"),
    std::string_view(".config/linode-cli"), std::string_view(".config/scw"), std::string_view(".config/rclone"),
    std::string_view(".config/openstack"), std::string_view(".aliyun"), std::string_view(".fly"),
    std::string_view(".netlify"), std::string_view(".oci"), std::string_view(".s3cfg"), std::string_view(".mc"),
    std::string_view(".terraform.d/credentials.tfrc.json"), std::string_view(".terraformrc"),
    std::string_view(".pulumi/credentials.json"), std::string_view(".vercel"), std::string_view(".wrangler"),
    std::string_view(".config/.wrangler"), std::string_view(".databrickscfg"), std::string_view(".snowflake"),
    std::string_view(".kube"), std::string_view(".docker"), std::string_view(".config/containers/auth.json"),
    std::string_view(".config/helm"), std::string_view(".config/argocd"), std::string_view(".vault-token"),
    std::string_view(".config/heroku"), std::string_view(".config/stripe"), std::string_view(".config/ngrok"),
    std::string_view(".ngrok2"), std::string_view(".config/sops"), std::string_view(".config/age"),
    // forges, package indexes, mail, databases
    std::string_view(".netrc"), std::string_view("_netrc"), std::string_view(".git-credentials"),
    std::string_view(".config/git/credentials"), std::string_view(".config/gh/hosts.yml"),
    std::string_view(".config/hub"), std::string_view(".config/glab-cli"), std::string_view(".config/tea"),
    std::string_view(".npmrc"), std::string_view(".yarnrc.yml"), std::string_view(".pypirc"),
    std::string_view(".config/pip/pip.conf"), std::string_view(".pip/pip.conf"), std::string_view(".gem/credentials"),
    std::string_view(".cargo/credentials"), std::string_view(".cargo/credentials.toml"),
    std::string_view(".m2/settings.xml"), std::string_view(".m2/settings-security.xml"),
    std::string_view(".gradle/gradle.properties"), std::string_view(".nuget/NuGet/NuGet.Config"),
    std::string_view(".composer/auth.json"), std::string_view(".config/composer/auth.json"),
    std::string_view(".huggingface"), std::string_view(".cache/huggingface/token"),
    std::string_view(".cache/huggingface/stored_tokens"), std::string_view(".kaggle"),
    std::string_view(".config/wandb"), std::string_view(".pgpass"), std::string_view(".my.cnf"),
    std::string_view(".mylogin.cnf"), std::string_view(".config/msmtp"), std::string_view(".msmtprc"),
    std::string_view(".muttrc"), std::string_view(".fetchmailrc"), std::string_view(".config/rbw"),
    std::string_view(".config/hub"),
    // keys, password stores, browsers
    std::string_view(".ssh"), std::string_view(".gnupg"), std::string_view(".password-store"),
    std::string_view(".config/op"), std::string_view(".op"), std::string_view(".config/Bitwarden"),
    std::string_view(".config/Bitwarden CLI"), std::string_view(".local/share/keyrings"),
    std::string_view(".local/share/kwalletd"), std::string_view(".pki"), std::string_view(".mozilla"),
    std::string_view(".thunderbird"), std::string_view(".config/google-chrome"), std::string_view(".config/chromium"),
    std::string_view(".config/BraveSoftware"), std::string_view(".config/microsoft-edge"),
    std::string_view(".config/Slack"), std::string_view(".config/Signal"), std::string_view(".config/discord"),
    std::string_view(".bitcoin"), std::string_view(".ethereum"), std::string_view(".config/solana"),
    // what was typed
    std::string_view(".bash_history"), std::string_view(".zsh_history"), std::string_view(".zhistory"),
    std::string_view(".histfile"), std::string_view(".sh_history"), std::string_view(".local/share/fish/fish_history"),
    std::string_view(".python_history"), std::string_view(".node_repl_history"), std::string_view(".psql_history"),
    std::string_view(".mysql_history"), std::string_view(".sqlite_history"), std::string_view(".rediscli_history"),
    std::string_view(".config/fish/fish_variables"), std::string_view(".lesshst"), std::string_view(".viminfo"),
    std::string_view(".env"), std::string_view(".envrc"), std::string_view(".secrets"),
    // more of the kinds above
    std::string_view(".local/share/com.vercel.cli"), std::string_view(".local/share/mkcert"),
    std::string_view(".config/configstore"), std::string_view(".cloudflared"), std::string_view(".local/share/atuin")};

/// Of the machine, for whom root started.
inline constexpr std::array kMachineCredentialPaths{std::string_view("/etc/shadow"),
                                                    std::string_view("/etc/shadow-"),
                                                    std::string_view("/etc/gshadow"),
                                                    std::string_view("/etc/gshadow-"),
                                                    std::string_view("/etc/ssl/private"),
                                                    std::string_view("/etc/krb5.keytab"),
                                                    std::string_view("/etc/ssh/ssh_host_ecdsa_key"),
                                                    std::string_view("/etc/ssh/ssh_host_ed25519_key"),
                                                    std::string_view("/etc/ssh/ssh_host_rsa_key"),
                                                    std::string_view("/etc/kubernetes"),
                                                    std::string_view("/etc/wireguard"),
                                                    std::string_view("/etc/NetworkManager/system-connections"),
                                                    std::string_view("/etc/openvpn"),
                                                    std::string_view("/etc/letsencrypt"),
                                                    std::string_view("/etc/docker"),
                                                    std::string_view("/var/lib/docker"),
                                                    std::string_view("/var/lib/containerd"),
                                                    std::string_view("/var/lib/kubelet"),
                                                    std::string_view("/var/lib/swtpm-localca"),
                                                    std::string_view("/var/lib/agentvault")};

/// Downloads and build results that tools find again.
inline constexpr std::array kCachePaths{std::string_view(".npm"),
                                        std::string_view(".cache/pip"),
                                        std::string_view(".cache/uv"),
                                        std::string_view(".cache/pypoetry"),
                                        std::string_view(".cache/yarn"),
                                        std::string_view(".cache/pnpm"),
                                        std::string_view(".local/share/pnpm/store"),
                                        std::string_view(".bun/install/cache"),
                                        std::string_view(".cache/deno"),
                                        std::string_view(".cache/node-gyp"),
                                        std::string_view(".cache/node"),
                                        std::string_view(".cache/go-build"),
                                        std::string_view("go/pkg/mod"),
                                        std::string_view(".cargo/registry"),
                                        std::string_view(".cargo/git"),
                                        std::string_view(".m2/repository"),
                                        std::string_view(".gradle/caches"),
                                        std::string_view(".ccache"),
                                        std::string_view(".cache/ccache"),
                                        std::string_view(".cache/sccache"),
                                        std::string_view(".cache/bazel"),
                                        std::string_view(".cache/huggingface"),
                                        std::string_view(".cache/torch"),
                                        std::string_view(".nuget/packages")};

/// Where a tool's cache is missing, and it could not make it: the variable that names another.
struct CacheVariable {
  std::string_view usual;
  std::string_view variable;
  std::string_view instead;  // under a private folder
};
inline constexpr std::array kCacheVariables{
    CacheVariable{".npm", "NPM_CONFIG_CACHE", "npm"},        CacheVariable{".cache/pip", "PIP_CACHE_DIR", "pip"},
    CacheVariable{".cache/uv", "UV_CACHE_DIR", "uv"},        CacheVariable{".cache/yarn", "YARN_CACHE_FOLDER", "yarn"},
    CacheVariable{".cache/go-build", "GOCACHE", "go-build"}, CacheVariable{"go/pkg/mod", "GOMODCACHE", "go-mod"},
    CacheVariable{".cache/deno", "DENO_DIR", "deno"},        CacheVariable{".cache/ccache", "CCACHE_DIR", "ccache"}};

/// The system's own: nobody works on a project there.
inline constexpr std::array kSystemFolders{
    std::string_view("/proc"), std::string_view("/sys"), std::string_view("/dev"),  std::string_view("/run"),
    std::string_view("/etc"),  std::string_view("/usr"), std::string_view("/boot"), std::string_view("/bin"),
    std::string_view("/sbin"), std::string_view("/lib"), std::string_view("/lib64")};
/// What an agent has of its own, or not at all.
inline constexpr std::array kPrivateFolders{std::string_view("/tmp"), std::string_view("/var/tmp"),
                                            std::string_view("/run"), std::string_view("/var/run"),
                                            std::string_view("/dev")};
/// But for these, read-only. NixOS: what PATH leads to.
inline constexpr std::array kSystemUnderRun{std::string_view("/run/current-system"),
                                            std::string_view("/run/opengl-driver")};
inline constexpr std::array kTemporaryFolders{std::string_view("/tmp"), std::string_view("/var/tmp")};

}  // namespace agentvault::sandbox

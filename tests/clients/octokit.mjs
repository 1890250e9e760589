// As its documentation shows it; the base URL only to reach the broker, which is its constructor's argument.
import { Octokit } from "@octokit/rest";

const octokit = new Octokit({ auth: process.env.GITHUB_TOKEN, baseUrl: process.env.BASE, log: { debug() {}, info() {}, warn() {}, error() {} } });
console.log("user:", (await octokit.rest.users.getAuthenticated()).data.login);
console.log("issue:", (await octokit.rest.issues.create({ owner: "o", repo: "r", title: "t" })).data.number);
try {
  await octokit.rest.repos.delete({ owner: "o", repo: "r" });
} catch (error) {
  console.log("denied:", error.status);
}

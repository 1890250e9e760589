// Node's own fetch, which honours proxy variables when NODE_USE_ENV_PROXY is set.
const headers = { authorization: `Bearer ${process.env.VENDOR_KEY}` };
const answer = await fetch("https://api.vendor.example/v1/x", { headers });
console.log("granted host:", answer.status, (await answer.json()).path);
const refused = await fetch("https://api.vendor.example/v2/x", { headers });
console.log("outside the base:", refused.status, (await refused.json()).error.code);
const other = await fetch("https://plain.site.example/a");
console.log("another host:", other.status, (await other.json()).path);

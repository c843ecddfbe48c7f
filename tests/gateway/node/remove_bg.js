// npm's remove.bg as its README has it: a file, base64 and a URL; prints what it resolved to.
const fs = require("fs");
const client = require("remove.bg");
const [kind, source, outputFile, more] = process.argv.slice(2);
const options = { apiKey: process.env.API_KEY, outputFile, ...JSON.parse(more || "{}") };

const calls = {
  file: () => client.removeBackgroundFromImageFile({ path: source, ...options }),
  url: () => client.removeBackgroundFromImageUrl({ url: source, ...options }),
  base64: () =>
    client.removeBackgroundFromImageBase64({
      base64img: fs.readFileSync(source).toString("base64"),
      ...options,
    }),
};

calls[kind]().then(
  ({ base64img, ...rest }) => console.log(JSON.stringify({ bytes: base64img.length, ...rest })),
  (errors) => {
    console.log(JSON.stringify({ errors }));
    process.exitCode = 1;
  },
);

// Loaded before a foreign client: its address of remove.bg becomes the test's server, nothing else.
const Module = require("module");
const compile = Module.prototype._compile;
Module.prototype._compile = function (source, file) {
  const base = process.env.BASE_ADDRESS;
  return compile.call(this, source.replaceAll("https://api.remove.bg", base), file);
};

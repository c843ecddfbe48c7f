// npm's removebg-wrapper; writes output.png into the working folder.
require("removebg-wrapper").rbFromImageFile(process.argv[2], process.env.API_KEY);

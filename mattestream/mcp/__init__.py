"""The MCP server: background removal as tools for agents, on top of the SDK.

Reading order: `places` (which files an agent may touch), `shelf` (results it may fetch later),
`pictures` (what it may name as an image), `previews` (what it is shown), `tools` (what it may ask
for). `mattestream.cli.mcp` starts it.
"""

"""The tools: one file each, from which the REST route, the MCP tool and the command of the CLI are made."""

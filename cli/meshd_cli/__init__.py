"""The `mesh` command: thin over the SDK. A command parses, makes one call, and hands a document to `render`."""

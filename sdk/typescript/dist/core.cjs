Object.defineProperty(exports, Symbol.toStringTag, { value: "Module" });
const require_core = require("./core-IlvZitjS.cjs");
exports.Backoff = require_core.Backoff;
exports.Channel = require_core.Channel;
exports.Client = require_core.Client;
exports.Presence = require_core.Presence;
exports.StarlingError = require_core.StarlingError;
exports.json = require_core.json;
exports.websocket = require_core.websocket;

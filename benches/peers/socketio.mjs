// A server of the `socket.io` package, on Node's own HTTP server or on uWebSockets.js, set up as its documentation
// ("Performance tuning", "Installation") has it. Rooms are joined and published to as in Starling, with the same answers
// and the same second argument to each message, so that both write equal bytes.
//
//   node socketio.mjs PORT [node|uws]

import { createServer } from "node:http";

import { Server } from "socket.io";

const port = Number(process.argv[2]);
const engine = process.argv[3] ?? "node";

// No compression is the default of both sides; clients come by WebSocket, as in the measurement of Starling.
const io = new Server({ transports: ["websocket"], perMessageDeflate: false, serveClient: false });

let published = 0;
io.on("connection", (socket) => {
  socket.on("subscribe", (channel, ack) => {
    socket.join(channel);
    ack?.({ ok: true, channel });
  });
  socket.on("publish", (channel, event, payload, ack) => {
    const id = `0123456789ab-${(published += 1).toString(16)}`;
    io.to(channel).emit(event, payload, { channel, id, ts: Date.now() });
    ack?.({ ok: true, messageId: id });
  });
});
// The first HTTP request is not needed any more; the documentation says how to save its memory.
io.engine?.on("connection", (raw) => { raw.request = null; });

const ready = () => console.log("ready");
if (engine === "uws") {
  const { App } = (await import("uWebSockets.js")).default;
  const app = App();
  io.attachApp(app);
  app.listen("127.0.0.1", port, (token) => (token ? ready() : process.exit(1)));
} else {
  const server = createServer();
  io.attach(server);
  io.engine.on("connection", (raw) => { raw.request = null; });
  server.listen(port, "127.0.0.1", ready);
}

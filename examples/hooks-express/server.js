// The backend: two signed endpoints for Starling, and one of its own.

import { pathToFileURL } from "node:url";

import express from "express";

import { Chat } from "./chat.js";
import { signedWith } from "./signature.js";

export function backend(secret, chat = new Chat()) {
  const app = express();
  app.disable("x-powered-by");
  app.post("/starling", signedWith(secret), (request, response) => {
    response.json(chat.answer(request.body));
  });
  app.post("/starling-events", signedWith(secret), (request, response) => {
    chat.take(request.body);
    response.sendStatus(204);
  });
  app.get("/online", (request, response) => {
    response.json({ users: [...new Set(chat.online.values())].sort(), rooms: [...chat.occupied].sort() });
  });
  return app;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const secret = process.env.STARLING_SECRET ?? "express-example-secret";
  const port = Number(process.env.PORT ?? 3000);
  backend(secret).listen(port, "127.0.0.1", () => console.log(`backend on http://127.0.0.1:${port}`));
}

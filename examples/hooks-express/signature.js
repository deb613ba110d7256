// Only Starling may call this backend: every request is signed with the app's secret.

import { createHmac, timingSafeEqual } from "node:crypto";

import express from "express";

const TOLERANCE = 300; // seconds that a signature is good for, so that a recorded request cannot be played back later

/** Middleware: checks `Starling-Signature`, and leaves the parsed body in `request.body`. */
export function signedWith(secret) {
  // The signature is of the bytes as they were sent, so they are read before they are parsed.
  return [express.raw({ type: "application/json", limit: "4mb" }), (request, response, next) => {
    const timestamp = request.get("Starling-Timestamp") ?? "";
    const given = Buffer.from(request.get("Starling-Signature") ?? "");
    const raw = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
    const expected = Buffer.from(`v1=${createHmac("sha256", secret).update(`${timestamp}.`).update(raw).digest("hex")}`);
    const isFresh = Math.abs(Date.now() / 1000 - Number(timestamp)) < TOLERANCE;
    if (!isFresh || given.length !== expected.length || !timingSafeEqual(given, expected)) {
      return response.status(401).json({ error: "not signed by Starling" });
    }
    request.body = JSON.parse(raw);
    return next();
  }];
}

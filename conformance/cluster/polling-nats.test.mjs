import { suite } from "./polling.mjs";

suite("nats");

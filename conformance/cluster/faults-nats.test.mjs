import { suite } from "./faults.mjs";

suite("nats");

import { suite } from "./faults.mjs";

suite("redis");

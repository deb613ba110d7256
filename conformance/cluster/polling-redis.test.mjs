import { suite } from "./polling.mjs";

suite("redis");

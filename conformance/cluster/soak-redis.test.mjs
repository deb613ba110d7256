import { short } from "./soak.mjs";

short("redis");

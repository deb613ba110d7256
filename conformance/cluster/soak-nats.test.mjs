import { short } from "./soak.mjs";

short("nats");

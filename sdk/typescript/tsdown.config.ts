import { defineConfig } from "tsdown";

export default defineConfig({
  entry: ["src/index.ts", "src/core.ts", "src/msgpack.ts", "src/react.ts"],
  format: ["esm", "cjs"],
  platform: "neutral",
  target: "es2022",
  dts: true,
  sourcemap: true,
  clean: true,
  // Every entry stands alone in a bundle; what they share are types.
  deps: { neverBundle: ["react"] },
});

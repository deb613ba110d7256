// Writes the little TOML that configurations need: sections, lists of tables at the top, plain values within.

const value = (of) => {
  if (Array.isArray(of)) return `[${of.map(value).join(", ")}]`;
  if (of !== null && typeof of === "object") {
    return `{ ${Object.entries(of).map(([key, member]) => `${key} = ${value(member)}`).join(", ")} }`;
  }
  return JSON.stringify(of); // strings (TOML's basic strings take JSON's escapes), integers, booleans
};

const table = (of) => Object.entries(of).map(([key, member]) => `${key} = ${value(member)}\n`).join("");

export function toToml(config) {
  return Object.entries(config)
    .map(([name, section]) => Array.isArray(section)
      ? section.map((entry) => `[[${name}]]\n${table(entry)}`).join("\n")
      : `[${name}]\n${table(section)}`)
    .join("\n");
}

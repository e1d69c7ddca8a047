// JSON Schemas of commands in words, and values that they accept. Used by this page and by `/docs`. `root` is the document that the
// references of a schema point into.

/** Follows one reference inside `root`. */
export function target(schema, root) {
  if (typeof schema?.$ref !== "string") return schema;
  const path = schema.$ref.split("/").slice(1).map((part) => decodeURIComponent(part).replace(/~1/g, "/").replace(/~0/g, "~"));
  return path.reduce((value, part) => value?.[part], root);
}

/** Follows references to their end. */
export function resolve(schema, root) {
  for (let step = 0; step < 20 && typeof schema?.$ref === "string"; step++) schema = target(schema, root);
  return schema && typeof schema === "object" ? schema : {};
}

/** The constraints of a schema in words; empty if there are none. */
export function limits(schema) {
  const words = {
    minimum: "at least", maximum: "at most", exclusiveMinimum: "greater than", exclusiveMaximum: "less than", multipleOf: "a multiple of",
    minLength: "shortest", maxLength: "longest", minItems: "fewest items", maxItems: "most items", pattern: "matches",
  };
  const isSaid = (key) => key in schema && !(key === "pattern" && schema.format); // the format says it better
  const found = Object.keys(words).filter(isSaid).map((key) => `${words[key]} ${schema[key]}`);
  return found.join(", ");
}

/** A schema as a short type. Named types are added to `types`, if they are more than a short type themselves. */
export function typeText(schema, types, root) {
  if (!schema || typeof schema !== "object") return "any";
  const list = (schemas, between) => [...new Set(schemas.map((item) => typeText(item, types, root)))].join(between);
  if (schema.$ref) {
    const named = resolve(schema, root);
    const isShort = !["properties", "anyOf", "oneOf", "allOf", "items", "prefixItems"].some((key) => key in named);
    if (isShort && typeof named.additionalProperties !== "object") return typeText(named, types, root);
    const name = named.title ?? decodeURIComponent(schema.$ref.split("/").pop());
    types.set(schema.$ref, name);
    return name;
  }
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf ?? schema.oneOf) return list(schema.anyOf ?? schema.oneOf, " | ");
  if (schema.allOf) return list(schema.allOf, " & ");
  if (Array.isArray(schema.type)) return list(schema.type.map((type) => ({ ...schema, type })), " | ");
  if (schema.type === "array") {
    if (schema.prefixItems) return `[${schema.prefixItems.map((item) => typeText(item, types, root)).join(", ")}]`;
    return schema.items ? `array of ${typeText(schema.items, types, root)}` : "array";
  }
  if (schema.type === "object" && typeof schema.additionalProperties === "object") {
    return `object of ${typeText(schema.additionalProperties, types, root)}`;
  }
  const format = schema.format ?? (schema.contentEncoding && `in ${schema.contentEncoding}`);
  return format ? `${schema.type ?? "any"} (${format})` : schema.type ?? "any";
}

const TEXTS = {
  "date-time": "2026-01-31T08:40:00Z", date: "2026-01-31", time: "08:40:00Z", duration: "PT90S", email: "ann@example.org",
  decimal: "1.50", uuid: "6f1c2d9e-3b47-4b52-9c1a-0d3c5a7e8f10", uri: "https://example.org/", ipv4: "192.0.2.1", ipv6: "2001:db8::1",
};

/** A value that the schema probably accepts. */
export function sample(schema, root, depth = 0) {
  schema = resolve(schema, root);
  if (schema.examples?.length) return schema.examples[0];
  if ("default" in schema) return schema.default;
  if ("const" in schema) return schema.const;
  if (schema.enum) return schema.enum[0];
  const choices = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (choices) return depth > 6 ? null : sample(choices[0], root, depth + 1);
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case "integer": case "number": return sampleNumber(schema);
    case "string":
      return TEXTS[schema.format] ?? (schema.contentEncoding === "base64" ? "aGVsbG8=" : "text".padEnd(schema.minLength ?? 0, "x").slice(0, schema.maxLength));
    case "boolean": return true;
    case "array": {
      if (schema.prefixItems) return schema.prefixItems.map((item) => sample(item, root, depth + 1));
      return depth > 4 && !schema.minItems ? [] : Array(Math.min(schema.minItems || 1, 10)).fill(sample(schema.items ?? {}, root, depth + 1));
    }
    case "object": {
      const names = (schema.required ?? []).filter((name) => depth < 7 && name in (schema.properties ?? {}));
      return Object.fromEntries(names.map((name) => [name, sample(schema.properties[name], root, depth + 1)]));
    }
    default: return null;
  }
}

function sampleNumber({ type, minimum, exclusiveMinimum, maximum, exclusiveMaximum, multipleOf }) {
  const step = multipleOf ?? 1;
  const least = Math.max(minimum ?? -Infinity, exclusiveMinimum === undefined ? -Infinity : exclusiveMinimum + step);
  const most = Math.min(maximum ?? Infinity, exclusiveMaximum === undefined ? Infinity : exclusiveMaximum - step);
  const wanted = Math.min(Math.max(step, least), most);
  return type === "integer" ? Math.round(wanted) : wanted;
}

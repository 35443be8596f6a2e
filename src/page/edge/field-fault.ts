/** @returns what the edge has said, which stands behind the sentence for people and the line with the status */
export function extractEdgeMessage(fault: string): string {
  const [, , ...words] = fault.split('\n');
  return words.length > 0 ? words.join('\n') : fault;
}

/**
 * Finds the field of a form that a refusal of the edge is about: its words begin with a path, such as `limits.max_usd: …`.
 *
 * @param fault a sentence for people, and below it what the edge has said; or the page's own words alone
 * @param fields the names of the fields, as paths
 * @returns the field, and what is said of it; without a field all that was said
 */
export function findFaultyField(
  fault: string,
  fields: readonly string[],
): { field: string | undefined; message: string } {
  const words = extractEdgeMessage(fault);
  const [, path = '', rest = ''] = /^([\w.]+): ([\s\S]+)$/.exec(words) ?? [];
  const field = fields.find((name) => path === name || path.startsWith(`${name}.`));
  if (field === undefined) return { field, message: fault };
  return { field, message: path === field ? rest : words };
}

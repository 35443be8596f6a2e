/** @returns the edge's message, which follows the sentence for users and the line with the status */
export function extractEdgeMessage(fault: string): string {
  const [, , ...words] = fault.split('\n');
  return words.length > 0 ? words.join('\n') : fault;
}

/**
 * Finds the field of a form to which an error of the edge refers. Its message begins with a path, such as `limits.max_usd: …`.
 *
 * @param fault a sentence for users, and below it the edge's message; or only the page's own message
 * @param fields the names of the fields, as paths
 * @returns the field and its message; without a field the whole message
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

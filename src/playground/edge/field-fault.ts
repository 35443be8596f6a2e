/**
 * Finds the field of a form that a refusal of the edge is about: its words, behind the sentence for people, begin with a path, such as `limits.max_usd: …`.
 *
 * @param fields the names of the fields, as paths
 * @returns the field, and what is said of it; without a field all that was said
 */
export function fieldFault(message: string, fields: readonly string[]): { field: string | undefined; said: string } {
  const [, path = '', said = ''] = /^([\w.]+): ([\s\S]+)$/m.exec(message) ?? [];
  const field = fields.find((name) => path === name || path.startsWith(`${name}.`));
  if (field === undefined) return { field, said: message };
  return { field, said: path === field ? said : message };
}

const CHARACTERS_PER_UNIT = 64;

/**
 * Weighs JSON by the work of comparing it with something: one for each value and each name, and one more for every 64 characters.
 *
 * @param limit the weight at which to stop
 */
export function weighJson(root: unknown, limit: number): number {
  let weight = 0;
  const open: unknown[] = [root];
  while (open.length > 0 && weight < limit) {
    const value = open.pop();
    weight += 1;
    if (typeof value === 'string') weight += Math.floor(value.length / CHARACTERS_PER_UNIT);
    else if (Array.isArray(value)) {
      // Items that exceed the limit need not be listed.
      for (let at = 0; at < value.length && open.length < limit; at += 1) open.push(value[at]);
    } else if (typeof value === 'object' && value !== null) {
      for (const [name, field] of Object.entries(value)) open.push(name, field);
    }
  }
  return weight;
}

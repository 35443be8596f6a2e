/**
 * Finds a name for what an example stores: never that of something that is stored already, unless an example stored it.
 *
 * @param description what the example stores it with
 */
export function exampleName(
  base: string,
  description: string,
  rows: readonly { name: string; description?: string | null }[],
): string {
  const isFree = (name: string) => rows.every((row) => row.name !== name || row.description === description);
  let name = base;
  for (let number = 2; !isFree(name); number += 1) name = `${base}-${number}`;
  return name;
}

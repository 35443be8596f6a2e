/** Yields the keys that begin with a prefix, without it, in the order of KV. KV gives a thousand of them at once. */
export async function* storedKeys(store: KVNamespace, prefix: string): AsyncGenerator<string> {
  let cursor: string | undefined;
  do {
    const page = await store.list({ prefix, ...(cursor === undefined ? {} : { cursor }) });
    for (const { name } of page.keys) yield name.slice(prefix.length);
    cursor = page.list_complete ? undefined : page.cursor;
  } while (cursor !== undefined);
}

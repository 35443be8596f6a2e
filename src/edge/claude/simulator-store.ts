import type { SimulatorStore } from '../../simulator/simulator.ts';

const SIMULATOR_KEYS = 'simulator:';
/** The shortest lifetime of a key in KV: https://developers.cloudflare.com/kv/api/write-key-value-pairs/ */
const MIN_TTL_SECONDS = 60;

/**
 * @param namespace a KV namespace. In development it is on this machine's disk
 * @returns a store there for the simulator's batches and files; undefined without a namespace
 */
export function createSimulatorStore(namespace: unknown): SimulatorStore | undefined {
  if (namespace === undefined) return undefined;
  const store = namespace as KVNamespace;
  return {
    get: async (key) => {
      const value = await store.get(SIMULATOR_KEYS + key, 'arrayBuffer');
      return value === null ? undefined : new Uint8Array(value);
    },
    put: async (key, value, seconds) => {
      await store.put(SIMULATOR_KEYS + key, value, { expirationTtl: Math.max(MIN_TTL_SECONDS, seconds) });
    },
    delete: async (key) => await store.delete(SIMULATOR_KEYS + key),
    listKeys: async (prefix) => {
      const keys: string[] = [];
      for (let cursor: string | undefined, more = true; more; ) {
        const page = await store.list({ prefix: SIMULATOR_KEYS + prefix, ...(cursor === undefined ? {} : { cursor }) });
        keys.push(...page.keys.map(({ name }) => name.slice(SIMULATOR_KEYS.length)));
        more = !page.list_complete;
        if (!page.list_complete) cursor = page.cursor;
      }
      return keys;
    },
  };
}

import type { Model } from '../pricing/models.ts';
import type { SimulatedModel } from '../simulator/simulator.ts';

/** @returns the models of a table as the simulator knows them. */
export function simulatedModels(rows: readonly Model[]): SimulatedModel[] {
  return rows.map((row) => ({
    id: row.id,
    display_name: row.display_name,
    // The table has no release dates. The API sends this date if it does not know one.
    created_at: '1970-01-01T00:00:00Z',
    max_input_tokens: row.max_input_tokens,
    max_tokens: row.max_tokens,
    minimum_cacheable_tokens: row.minimum_cacheable_tokens,
    retires_at: row.retires_at,
    replacement: row.replacement,
    aliases: [...row.aliases],
    checks_thinking: row.binds_thinking,
  }));
}

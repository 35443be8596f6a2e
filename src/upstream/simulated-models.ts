import { type Model, simulatedColumns } from '../pricing/models.ts';
import type { SimulatedModel } from '../simulator/simulator.ts';

/** @returns the models of a table as the simulator knows them. Of one that nobody knows it takes everything. */
export function simulatedModels(rows: readonly Model[]): SimulatedModel[] {
  const further = simulatedColumns();
  return rows.map(({ thinking, binds_thinking, prices, ...row }) => {
    // The table has no release dates. The API sends this date if it does not know one.
    const known = { ...row, created_at: '1970-01-01T00:00:00Z' };
    const columns = further[row.id];
    if (!thinking || !columns)
      return { ...known, forced_tools: true, efforts: undefined, checks_thinking: binds_thinking };
    const checks_thinking = binds_thinking || (columns.binds_newly ? 'new_accounts' : false);
    return { ...known, fast: prices.fast && 'fast', ...columns, thinking, checks_thinking };
  });
}

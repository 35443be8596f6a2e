import type { SimulatedModel } from '../../simulator/simulator.ts';
import { createSimulatorColumns, type Model } from './models/models.ts';

/** @returns the models of a table in the simulator's form. An unknown model accepts everything. */
export function toSimulatedModels(rows: readonly Model[]): SimulatedModel[] {
  const further: Readonly<Record<string, Partial<SimulatedModel>>> = createSimulatorColumns();
  return rows.map(({ thinking, binds_thinking, prices, ...row }) => {
    const columns = further[row.id];
    const checks = binds_thinking ? true : (columns?.checks_thinking ?? false);
    // The table has no release dates, so use the date that the API sends for a model whose release date is unknown.
    const model = { ...row, created_at: '1970-01-01T00:00:00Z', checks_thinking: checks };
    if (!thinking || !columns) return { ...model, forced_tools: true, efforts: undefined, refuses: [] };
    const refuses = [...row.refuses, ...(columns.refuses ?? [])];
    return { ...model, thinking, fast: prices.fast && 'fast', ...columns, refuses, checks_thinking: checks };
  });
}

import { quantile } from './statistics.ts';

/** What one contender did with one part of a workload. */
export interface Measurement {
  /** Per request, in milliseconds of the whole runtime process. */
  cpuMs: number;
  firstEventMs: number[];
}

/** The figures of a workload. What is `added` is a difference to who it stands beside, any other a ratio. */
export const figures = {
  cpu: { title: 'CPU', isAdded: false, value: ({ cpuMs }: Measurement) => cpuMs },
  firstEvent: {
    title: 'first event, added p50',
    isAdded: true,
    value: ({ firstEventMs }: Measurement) => quantile(firstEventMs, 0.5),
  },
};

export type FigureName = keyof typeof figures;

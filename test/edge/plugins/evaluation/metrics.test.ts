import { expect, test } from 'vitest';
import { computeMetrics, type ScoredExample } from '#edge/plugins/evaluation/metrics.ts';

const one = (expected: string | null, given: string | null | undefined): ScoredExample => ({
  expected: expected === null ? [] : [expected],
  given: given === undefined ? null : given === null ? [] : [given],
});

test('computes accuracy, per-label scores, macro F1 and confusion for a fixed set of results', () => {
  // Nine examples. Rows are what they are, columns what they were taken for:
  //            billing  bug  other  (no answer)
  //   billing     3      1     0        0
  //   bug         1      2     0        1
  //   other       0      1     0        0
  const judged = [
    ...Array.from({ length: 3 }, () => one('billing', 'billing')),
    one('billing', 'bug'),
    one('bug', 'billing'),
    one('bug', 'bug'),
    one('bug', 'bug'),
    one('bug', undefined),
    one('other', 'bug'),
  ];
  const metrics = computeMetrics(judged, ['billing', 'bug', 'other', 'spare'], false);
  expect(metrics.examples).toBe(9);
  expect(metrics.accuracy).toBe(5 / 9);
  expect(metrics.labels).toEqual([
    {
      label: 'billing',
      support: 4,
      true_positives: 3,
      false_positives: 1,
      false_negatives: 1,
      precision: 3 / 4,
      recall: 3 / 4,
      f1: 3 / 4,
    },
    {
      label: 'bug',
      support: 4,
      true_positives: 2,
      false_positives: 2,
      false_negatives: 2,
      precision: 1 / 2,
      recall: 1 / 2,
      f1: 1 / 2,
    },
    {
      label: 'other',
      support: 1,
      true_positives: 0,
      false_positives: 0,
      false_negatives: 1,
      precision: null,
      recall: 0,
      f1: 0,
    },
    {
      label: 'spare',
      support: 0,
      true_positives: 0,
      false_positives: 0,
      false_negatives: 0,
      precision: null,
      recall: null,
      f1: null,
    },
  ]);
  // (0.75 + 0.5 + 0) / 3: a label that neither was given nor should have been says nothing.
  expect(metrics.macro_f1).toBeCloseTo(1.25 / 3, 12);
  expect(
    metrics.confusion?.map(({ expected, given, unanswered }) => [
      expected,
      given.map(({ count }) => count),
      unanswered,
    ]),
  ).toEqual([
    ['billing', [3, 1, 0, 0], 0],
    ['bug', [1, 2, 0, 0], 1],
    ['other', [0, 1, 0, 0], 0],
    ['spare', [0, 0, 0, 0], 0],
  ]);
});

test('scores “none of the labels” as a result that can be correct or wrong', () => {
  const metrics = computeMetrics([one(null, null), one(null, 'a'), one('a', null), one('a', 'a')], ['a'], false);
  expect(metrics.accuracy).toBe(1 / 2);
  expect(metrics.labels).toEqual([
    {
      label: 'a',
      support: 2,
      true_positives: 1,
      false_positives: 1,
      false_negatives: 1,
      precision: 1 / 2,
      recall: 1 / 2,
      f1: 1 / 2,
    },
  ]);
  expect(metrics.confusion).toEqual([
    {
      expected: 'a',
      given: [
        { label: 'a', count: 1 },
        { label: null, count: 1 },
      ],
      unanswered: 0,
    },
    {
      expected: null,
      given: [
        { label: 'a', count: 1 },
        { label: null, count: 1 },
      ],
      unanswered: 0,
    },
  ]);
});

test('with several labels, an example is correct only if all labels match, in any order', () => {
  const judged: ScoredExample[] = [
    { expected: ['a', 'b'], given: ['b', 'a'] },
    { expected: ['a', 'b'], given: ['a'] },
    { expected: ['c'], given: ['c', 'a'] },
    { expected: [], given: [] },
    { expected: ['b'], given: null },
  ];
  const metrics = computeMetrics(judged, ['a', 'b', 'c'], true);
  expect(metrics.accuracy).toBe(2 / 5);
  expect(
    metrics.labels.map(({ true_positives, false_positives, false_negatives }) => [
      true_positives,
      false_positives,
      false_negatives,
    ]),
  ).toEqual([
    [2, 1, 0],
    [1, 0, 2],
    [1, 0, 0],
  ]);
  // 4/5, 1/2 and 1.
  expect(metrics.macro_f1).toBeCloseTo((4 / 5 + 1 / 2 + 1) / 3, 12);
  expect(metrics.confusion).toBeNull();
});

test('returns null metrics without examples', () => {
  expect(computeMetrics([], ['a'], false)).toMatchObject({ examples: 0, accuracy: null, macro_f1: null });
});

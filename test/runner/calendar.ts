import { expect, inject } from 'vitest';
import { beginAt } from '#test/support/calendar.ts';
import { fileName } from '#test/support/seed.ts';

const { testPath = '' } = expect.getState();
// Wherever the file is.
beginAt(inject('calendar'), fileName(testPath));

import { expect, inject } from 'vitest';
import { beginAt } from '../support/calendar.ts';
import { fileName } from '../support/seed.ts';

const { testPath = '' } = expect.getState();
// Wherever the file is.
beginAt(inject('calendar'), fileName(testPath));

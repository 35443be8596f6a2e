import { expect, inject } from 'vitest';
import { beginAt } from '../support/calendar.ts';

beginAt(inject('calendar'), expect.getState().testPath ?? '');

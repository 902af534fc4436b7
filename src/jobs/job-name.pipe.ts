import { Injectable, type PipeTransform } from '@nestjs/common';
import { Problem } from '../http/problem.js';
import { JobName } from './job-definition.js';

/** An invalid name is the name of no job: 404 without a query. */
@Injectable()
export class JobNamePipe implements PipeTransform<string, string> {
  transform(name: string): string {
    if (JobName.safeParse(name).success) return name;
    throw new Problem('job-not-found', 'There is no job of this name.');
  }
}

import { Module } from '@nestjs/common';
import { Ecr } from '../aws/ecr.js';
import { EcrRegistries } from './ecr-registries.js';
import { RegistriesController } from './registries.controller.js';
import { Registries } from './registries.js';

@Module({ controllers: [RegistriesController], providers: [Ecr, EcrRegistries, Registries], exports: [Registries] })
export class RegistriesModule {}
